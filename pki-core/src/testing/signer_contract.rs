//! What every signer must do, as one suite that each adapter passes.

use crate::key::{SignatureError, Signer, verify};
use crate::signed::Signed;

/// Runs the suite.
///
/// # Panics
/// Where the signer breaks the contract.
pub fn signer_contract(signer: &dyn Signer) {
    what_it_signs_its_public_key_verifies(signer);
    its_identifier_is_that_of_its_key(signer);
    threads_may_share_it(signer);
}

/// From nothing to more than one block of any digest, and as much as a chunk of a batch.
fn what_it_signs_its_public_key_verifies(signer: &dyn Signer) {
    for length in [0, 1, 127, 128, 129, 1000, 70_000] {
        let message = vec![b'm'; length];
        let signature = sign(signer, &message);
        assert_eq!(
            check(signer, &message, &signature),
            Ok(()),
            "{length} bytes"
        );
        let other = vec![b'm'; length + 1];
        assert!(check(signer, &other, &signature).is_err(), "{length} bytes");
    }
}

/// A signature must say how it was made, or nobody can check it.
fn its_identifier_is_that_of_its_key(signer: &dyn Signer) {
    let algorithm = signer.signature_algorithm();
    assert_eq!(algorithm, signer.key_algorithm().signature_algorithm());
    let content = [0x30, 3, 2, 1, 7];
    let signature = sign(signer, &content);
    let assembled = Signed::assemble(&content, algorithm.identifier(), &signature);
    let read = assembled.as_deref().map(Signed::from_der);
    let verified = read.map(|read| read.map(|signed| signed.verify(signer.public_key())));
    assert_eq!(verified, Ok(Ok(Ok(()))));
}

/// Bulk issuance signs from every core with one signer.
fn threads_may_share_it(signer: &dyn Signer) {
    std::thread::scope(|scope| {
        for thread in 0_u8..8 {
            scope.spawn(move || {
                for number in 0_u8..16 {
                    let message = [thread, number];
                    let signature = sign(signer, &message);
                    assert_eq!(check(signer, &message, &signature), Ok(()));
                }
            });
        }
    });
}

fn sign(signer: &dyn Signer, message: &[u8]) -> Vec<u8> {
    let signature = signer.sign(message);
    signature.unwrap_or_else(|error| panic!("{error}"))
}

fn check(signer: &dyn Signer, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let algorithm = signer.signature_algorithm().identifier().oid;
    verify(signer.public_key(), algorithm, message, signature)
}
