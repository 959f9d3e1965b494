//! The files that a declaration names: secrets, PINs, libraries of tokens, trust anchors. Relative paths
//! start at the home.

use super::{AuthorityKey, Declaration, DpsDeclaration, EntraIdentity, SignIn};
use crate::key::Pkcs11Uri;
use crate::secret::SecretSource;

impl Declaration {
    /// Every file that is named, as it is written.
    pub fn named_files(&self) -> Vec<&str> {
        let mut files = Vec::new();
        for authority in &self.authorities {
            match &authority.key {
                AuthorityKey::Home(_) => {}
                AuthorityKey::MadeInToken { store: uri, .. } | AuthorityKey::InToken(uri) => {
                    files.extend(of_token(uri));
                }
            }
        }
        for dps in self.dps.values() {
            files.extend(of_dps(dps));
        }
        files
    }
}

fn of_token(uri: &Pkcs11Uri) -> impl Iterator<Item = &str> {
    let pin = uri.pin_source.as_ref().and_then(file);
    pin.into_iter().chain(uri.module_path.as_deref())
}

fn of_dps(dps: &DpsDeclaration) -> impl Iterator<Item = &str> {
    let management = dps.management.as_ref();
    let of_hubs = dps.hubs.values().filter_map(|hub| hub.sign_in.as_ref());
    let sign_ins = dps
        .sign_in
        .iter()
        .chain(management.and_then(|management| management.sign_in.as_ref()))
        .chain(of_hubs);
    let entra = match &dps.entra {
        EntraIdentity::ClientSecret { secret, .. } => file(secret),
        _ => None,
    };
    sign_ins
        .filter_map(of_sign_in)
        .chain(entra)
        .chain(dps.trust_anchor.as_deref())
}

fn of_sign_in(sign_in: &SignIn) -> Option<&str> {
    match sign_in {
        SignIn::ConnectionString(source) | SignIn::Token(source) => file(source),
        SignIn::Entra => None,
    }
}

fn file(source: &SecretSource) -> Option<&str> {
    match source {
        SecretSource::File(path) => Some(path),
        SecretSource::Environment(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_named_is_told() {
        let declaration = Declaration::parse(
            r#"
            [authority.root]
            subject = "CN=Root"
            key = "ecdsa-p384"
            key-store = "pkcs11:token=line?pin-source=file:pin&module-path=/lib/softhsm.so"
            validity = "20y"
            [dps.dev]
            service = "my-dps.azure-devices-provisioning.net"
            connection-string = "file:connection"
            trust-anchor = "anchor.pem"
            [dps.dev.management]
            subscription = "1"
            resource-group = "group"
            token = "file:token"
            [dps.dev.hub."hub-1.azure-devices.net"]
            connection-string = "file:hub"
            "#,
        )
        .expect("a declaration");
        let mut files = declaration.named_files();
        files.sort_unstable();
        let expected = [
            "/lib/softhsm.so",
            "anchor.pem",
            "connection",
            "hub",
            "pin",
            "token",
        ];
        assert_eq!(files, expected);
    }
}
