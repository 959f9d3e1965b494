//! Revocation lists in PEM and DER, as people hand them in.

use super::{Crl, CrlError};
use crate::pem::{self, InputError};

/// Why an input does not hold revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlInputError {
    /// It holds something else.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A CRL in it cannot be read.
    #[error("CRL {number} in it is broken: {source}")]
    Crl {
        /// Its place among the CRLs, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: CrlError,
    },
}

/// Reads every CRL of a PEM file, or the one of a DER file.
///
/// # Errors
/// [`CrlInputError`]: what the input is instead.
pub fn crls(input: &[u8]) -> Result<Vec<Crl>, CrlInputError> {
    const WANTED: &str = "a CRL";
    let read = |(index, der): (usize, &[u8])| {
        Crl::from_der(der).map_err(|source| CrlInputError::Crl {
            number: index + 1,
            source,
        })
    };
    let input = &pem::plain(input);
    let Some(blocks) = pem::blocks(input)? else {
        return Ok(vec![read((0, input))?]);
    };
    pem::refuse_private_keys(&blocks, WANTED)?;
    let lists = blocks
        .iter()
        .filter(|block| matches!(block.label.as_str(), "X509 CRL" | "CRL"));
    let lists: Vec<&[u8]> = lists.map(|block| block.der.as_slice()).collect();
    if lists.is_empty() {
        return Err(pem::wrong_kind(&blocks, WANTED).into());
    }
    lists.into_iter().enumerate().map(read).collect()
}
