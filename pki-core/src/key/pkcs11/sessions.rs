//! The sessions with one token: opened as they are needed, lent to one thread at a time.
//!
//! A token signs one thing at a time in each session, so that several of them are what makes a
//! batch fast. The first one holds the login, which ends with the last one.

use std::fmt;
use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

pub(super) struct Sessions {
    library: Pkcs11,
    slot: Slot,
    pool: Mutex<Pool>,
    returned: Condvar,
}

struct Pool {
    idle: Vec<Session>,
    open: usize,
    most: usize,
}

/// A session for as long as it is held.
pub(super) struct Lent<'a> {
    sessions: &'a Sessions,
    session: Option<Session>,
}

impl Sessions {
    pub(super) fn beginning_with(
        session: Session,
        library: Pkcs11,
        slot: Slot,
        most: usize,
    ) -> Self {
        let pool = Pool {
            idle: vec![session],
            open: 1,
            most: most.max(1),
        };
        Self {
            library,
            slot,
            pool: Mutex::new(pool),
            returned: Condvar::new(),
        }
    }

    /// An idle session, a new one, or the next that is returned.
    pub(super) fn take(&self) -> Result<Lent<'_>, Error> {
        let mut pool = self.lock();
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok(self.lend(session));
            }
            if pool.open < pool.most {
                match self.library.open_rw_session(self.slot) {
                    Ok(session) => {
                        pool.open += 1;
                        return Ok(self.lend(session));
                    }
                    // The token has fewer than were hoped for.
                    Err(Error::Pkcs11(RvError::SessionCount, _)) if pool.open > 0 => {
                        pool.most = pool.open;
                    }
                    Err(error) => return Err(error),
                }
            }
            pool = self
                .returned
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the token can do.
    pub(super) fn mechanisms(&self) -> Result<Vec<MechanismType>, Error> {
        self.library.get_mechanism_list(self.slot)
    }

    fn lend(&self, session: Session) -> Lent<'_> {
        Lent {
            sessions: self,
            session: Some(session),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({} open)", self.lock().open)
    }
}

impl Deref for Lent<'_> {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "taken out by drop alone")]
    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("a session until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.lock().idle.push(session);
            self.sessions.returned.notify_one();
        }
    }
}
