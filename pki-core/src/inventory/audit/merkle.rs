//! Merkle trees over hashes of leaves, and proofs that a leaf is in one (RFC 6962 §2.1, verified as
//! in RFC 9162 §2.1.3.2).
//!
//! Leaves and nodes are hashed with different prefixes, so that a node can never pass for a leaf.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::AuditHash;

/// Proof that a leaf is at a place in a tree: the hashes of its neighbors on the way to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InclusionProof {
    /// The leaf's place, from 0 on.
    pub index: u64,
    /// How many leaves the tree has.
    pub size: u64,
    /// The neighbors, from the leaf upwards.
    pub path: Vec<AuditHash>,
}

/// The hash of a leaf: SHA-256 over a zero octet and its content.
pub fn leaf_hash(content: &[u8]) -> AuditHash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(content);
    AuditHash::from_digest(context.finish())
}

/// The root over hashes of leaves. The tree of no leaves has the hash of nothing.
pub fn root(leaves: &[AuditHash]) -> AuditHash {
    match leaves {
        [] => AuditHash::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// Proves that the leaf at `index` is in the tree; `None` if there is no such leaf.
pub fn prove(leaves: &[AuditHash], index: usize) -> Option<InclusionProof> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    collect_path(leaves, index, &mut path);
    Some(InclusionProof {
        index: u64::try_from(index).ok()?,
        size: u64::try_from(leaves.len()).ok()?,
        path,
    })
}

impl InclusionProof {
    /// Whether the leaf with this hash is in the tree with this root, at the place that is claimed.
    pub fn verify(&self, leaf: &AuditHash, root: &AuditHash) -> bool {
        if self.index >= self.size {
            return false;
        }
        let mut place = self.index;
        let mut last = self.size - 1;
        let mut hash = *leaf;
        for neighbor in &self.path {
            if last == 0 {
                return false;
            }
            if place % 2 == 1 || place == last {
                hash = node_hash(neighbor, &hash);
                // The rightmost leaf of an incomplete tree has no neighbor on some levels.
                while place.is_multiple_of(2) && place != 0 {
                    (place, last) = (place / 2, last / 2);
                }
            } else {
                hash = node_hash(&hash, neighbor);
            }
            (place, last) = (place / 2, last / 2);
        }
        last == 0 && hash == *root
    }
}

fn collect_path(leaves: &[AuditHash], index: usize, path: &mut Vec<AuditHash>) {
    if leaves.len() <= 1 {
        return;
    }
    let half = split(leaves.len());
    let (left, right) = leaves.split_at(half);
    if index < half {
        collect_path(left, index, path);
        path.push(root(right));
    } else {
        collect_path(right, index - half, path);
        path.push(root(left));
    }
}

/// The largest power of two that is smaller than `size`, which is 2 or more.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

fn node_hash(left: &AuditHash, right: &AuditHash) -> AuditHash {
    let mut message = [1; 65];
    message[1..33].copy_from_slice(left.as_octets());
    message[33..].copy_from_slice(right.as_octets());
    AuditHash::of(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<AuditHash> {
        (0..count).map(|number| leaf_hash(&[number])).collect()
    }

    /// The test vectors of the Certificate Transparency log (`merkletree_test.cc`): eight leaves of
    /// increasing length.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let hashes: Vec<AuditHash> = inputs.iter().map(|input| leaf_hash(input)).collect();
        for (size, expected) in [
            (
                0,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                1,
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            ),
            (
                3,
                "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            ),
            (
                7,
                "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            ),
            (
                8,
                "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
            ),
        ] {
            assert_eq!(root(&hashes[..size]).to_string(), expected, "{size} leaves");
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = prove(&leaves, index).expect("in the tree");
                assert!(proof.verify(leaf, &root), "{index} of {count}");
            }
        }
    }

    #[test]
    fn a_proof_holds_for_one_leaf_at_one_place_of_one_tree() {
        let leaves = leaves(11);
        let root = root(&leaves);
        let proof = prove(&leaves, 6).expect("in the tree");
        assert!(!proof.verify(&leaves[7], &root));
        assert!(!proof.verify(&leaves[6], &leaf_hash(b"another")));
        for (index, size) in [(5, 11), (7, 11), (6, 6), (0, 0)] {
            let path = proof.path.clone();
            assert!(!InclusionProof { index, size, path }.verify(&leaves[6], &root));
        }
        let mut longer = proof.clone();
        longer.path.push(root);
        assert!(!longer.verify(&leaves[6], &root));
        let mut shorter = proof;
        shorter.path.pop();
        assert!(!shorter.verify(&leaves[6], &root));
        assert_eq!(prove(&leaves, 11), None);
    }
}
