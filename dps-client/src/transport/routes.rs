//! Names that are dialled elsewhere than the machine's resolver says.
//!
//! A stand-in for Azure has all hubs at one address and tells them apart by name: a request goes there with
//! the hub's name in the URL, so that it is in `Host` and in the TLS handshake.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

/// Which host is dialled for which name. Clones share their routes, so that one can be added while
/// a transport is in use. A proxy looks names up by itself: no route leads through one.
#[derive(Debug, Clone, Default)]
pub struct Routes(Arc<RwLock<BTreeMap<String, String>>>);

impl Routes {
    /// Leads requests for a name to another host; each keeps the port of its URL.
    pub fn lead(&self, name: &str, host: &str) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(name.to_ascii_lowercase(), host.to_owned());
    }

    /// The host that is dialled for a name, if it is another one.
    pub(super) fn of(&self, name: &str) -> Option<String> {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let host = routes.get(&name.to_ascii_lowercase())?;
        (!host.eq_ignore_ascii_case(name)).then(|| host.clone())
    }
}

impl Resolve for Routes {
    fn resolve(&self, name: Name) -> Resolving {
        let routed = self.of(name.as_str());
        Box::pin(async move {
            let host = routed
                .as_deref()
                .unwrap_or(name.as_str())
                // An IPv6 address has brackets in a URL and none here.
                .trim_start_matches('[')
                .trim_end_matches(']');
            // The client sets the port of the URL instead.
            let found: Vec<_> = lookup_host((host, 0)).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}
