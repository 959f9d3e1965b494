//! The CSV from which ESP-IDF makes an NVS partition (`nvs_partition_gen.py`).
//!
//! Rows are `key,type,encoding,value`; a text holds less than 4000 octets with its NUL, so that what
//! is longer becomes a blob with the same content. Keys have at most 15 characters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::identity::IdentityParts;
use crate::pem;

/// The namespace that a device opens.
pub const NAMESPACE: &str = "device";

/// The most that NVS takes as a text, without its NUL.
const LONGEST_TEXT: usize = 3999;

/// Writes the rows: `registration_id`, `cert` (the leaf in PEM), `full_chain` (leaf and issuers in PEM) and
/// `key` (PKCS#8 in PEM), as far as the identity has them.
///
/// # Errors
/// [`csv::Error`] does not happen on memory; it is passed on all the same.
pub fn write(identity: IdentityParts<'_>) -> Result<Zeroizing<Vec<u8>>, csv::Error> {
    let mut rows = csv::Writer::from_writer(Vec::with_capacity(64 * 1024));
    rows.write_record(["key", "type", "encoding", "value"])?;
    rows.write_record([NAMESPACE, "namespace", "", ""])?;
    let pems: Vec<String> = identity
        .certificates
        .iter()
        .map(|certificate| pem::block("CERTIFICATE", certificate.der()))
        .collect();
    if let Some(leaf) = identity.certificates.first() {
        let id = leaf.common_name().unwrap_or_default();
        rows.write_record(["registration_id", "data", "string", id.as_str()])?;
    }
    if let Some(leaf) = pems.first() {
        text(&mut rows, "cert", leaf)?;
    }
    if pems.len() > 1 {
        text(&mut rows, "full_chain", &pems.concat())?;
    }
    if let Some(key) = identity.key {
        text(&mut rows, "key", &key.expose_pkcs8_pem())?;
    }
    let finished = rows.into_inner();
    finished
        .map(Zeroizing::new)
        .map_err(|error| error.into_error().into())
}

fn text(rows: &mut csv::Writer<Vec<u8>>, key: &str, value: &str) -> Result<(), csv::Error> {
    if value.len() <= LONGEST_TEXT {
        rows.write_record([key, "data", "string", value])
    } else {
        let value = Zeroizing::new(STANDARD.encode(value));
        rows.write_record([key, "data", "base64", value.as_str()])
    }
}
