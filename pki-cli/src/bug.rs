//! Our own bugs: a panic becomes an error that says how to report it.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Mutex;

use crate::error::{CommandError, ErrorKind};

/// Where and with which words the last panic happened, as the hook saw it.
static LAST_REPORT: Mutex<Option<String>> = Mutex::new(None);

/// Makes panics of this process be kept for [`guarded`] instead of being printed.
pub fn catch_reports() {
    panic::set_hook(Box::new(|info| {
        if let Ok(mut report) = LAST_REPORT.lock() {
            *report = Some(described(info));
        }
    }));
}

/// Runs something and turns a panic in it into an error.
///
/// # Errors
/// What `action` returns, or [`ErrorKind::Bug`].
pub fn guarded<T>(action: impl FnOnce() -> Result<T, CommandError>) -> Result<T, CommandError> {
    panic::catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|_| {
        let report = LAST_REPORT
            .lock()
            .ok()
            .and_then(|mut report| report.take())
            .unwrap_or_else(|| "no details were caught".to_owned());
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("this is a bug in dps-pki {version}: {report}");
        Err(CommandError::new(ErrorKind::Bug, message)
            .hint("report it to the maintainers with this text and the command line; leave out secrets")
            .hint("nothing is lost: every command can be run again"))
    })
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let words = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words");
    match info.location() {
        Some(place) => format!("{words} ({}:{})", place.file(), place.line()),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    fn a_panic_becomes_an_error_that_says_how_to_report_it() {
        let error = guarded::<()>(|| panic!("broken")).expect_err("a bug");
        assert_eq!(error.kind.exit_code(), 70);
        assert!(error.to_string().contains("bug in dps-pki"), "{error}");
        assert!(error.hints[0].contains("report it"));
    }
}
