//! The certificates that all walks share: two roots, up to three tiers of intermediates below them, several
//! generations of each; leaves are made when they are first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use pki_core::admission::{ChainElement, PresentedChain};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation, RegistrationId};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::key::Signer as _;

use crate::lifecycle_properties::judge::Presented;
use crate::support::{TestAuthority, authority_spec, leaf_spec, now, root, serial, signer};

/// A generation of an authority: which authority, and which generation of it, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Signer {
    pub(crate) authority: usize,
    pub(crate) generation: usize,
}

/// A leaf: of which device, signed by whom, and which of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeafKey {
    pub(crate) device: usize,
    pub(crate) signer: Signer,
    pub(crate) copy: usize,
}

pub(crate) struct Leaf {
    pub(crate) certificate: Certificate,
    pub(crate) chain: PresentedChain,
    pub(crate) presented: Vec<Presented>,
}

/// An authority: its name, what signs it, how many generations it may have, and for how many days.
struct Kind {
    name: &'static str,
    above: Option<usize>,
    generations: usize,
    days: u64,
}

pub(crate) const ROOT: usize = 0;
pub(crate) const OTHER_ROOT: usize = 1;
pub(crate) const FACTORY: usize = 2;
pub(crate) const LINE_A: usize = 3;
pub(crate) const LINE_B: usize = 4;
pub(crate) const LINE_C: usize = 5;
pub(crate) const LINE_D: usize = 6;
pub(crate) const LINE_E: usize = 7;

const KINDS: [Kind; 8] = [
    kind("root", None, 3, 3650),
    kind("other-root", None, 2, 3650),
    kind("factory", Some(ROOT), 3, 1825),
    kind("line-a", Some(FACTORY), 3, 1000),
    kind("line-b", Some(FACTORY), 2, 1000),
    // The first to expire.
    kind("line-c", Some(OTHER_ROOT), 2, 200),
    kind("line-d", Some(ROOT), 2, 1000),
    kind("line-e", Some(LINE_A), 2, 900),
];

const fn kind(name: &'static str, above: Option<usize>, generations: usize, days: u64) -> Kind {
    Kind {
        name,
        above,
        generations,
        days,
    }
}

pub(crate) struct Pki {
    authorities: Vec<Vec<TestAuthority>>,
    leaves: Mutex<HashMap<LeafKey, Arc<Leaf>>>,
}

impl Pki {
    pub(crate) fn shared() -> &'static Self {
        static PKI: OnceLock<Pki> = OnceLock::new();
        PKI.get_or_init(|| {
            let mut authorities: Vec<Vec<TestAuthority>> = Vec::new();
            for kind in &KINDS {
                let generations = (0..kind.generations)
                    .map(|_| match kind.above {
                        None => root(kind.name, EcdsaP256),
                        Some(above) => below(&authorities[above][0], kind),
                    })
                    .collect();
                authorities.push(generations);
            }
            Self {
                authorities,
                leaves: Mutex::default(),
            }
        })
    }

    pub(crate) fn authorities() -> usize {
        KINDS.len()
    }

    pub(crate) fn name(authority: usize) -> AuthorityName {
        KINDS[authority].name.parse().expect("name")
    }

    /// How many generations an authority may have.
    pub(crate) fn generations(authority: usize) -> usize {
        KINDS[authority].generations
    }

    pub(crate) fn is_root(authority: usize) -> bool {
        KINDS[authority].above.is_none()
    }

    pub(crate) fn above_of(authority: usize) -> Option<usize> {
        KINDS[authority].above
    }

    pub(crate) fn days(authority: usize) -> u64 {
        KINDS[authority].days
    }

    pub(crate) fn id(signer: Signer) -> AuthorityGeneration {
        AuthorityGeneration {
            name: Self::name(signer.authority),
            generation: number(signer),
        }
    }

    pub(crate) fn certificate(&self, signer: Signer) -> &Certificate {
        &self.authorities[signer.authority][signer.generation].certificate
    }

    /// A signer and what is above it: the first generations of the authorities above.
    pub(crate) fn path(signer: Signer) -> Vec<Signer> {
        let mut path = vec![signer];
        let mut above = KINDS[signer.authority].above;
        while let Some(authority) = above {
            path.push(Signer {
                authority,
                generation: 0,
            });
            above = KINDS[authority].above;
        }
        path
    }

    pub(crate) fn above(&self, signer: Signer) -> Vec<ChainElement> {
        let path = Self::path(signer).into_iter();
        path.map(|one| ChainElement::from(self.certificate(one)))
            .collect()
    }

    pub(crate) fn leaf(&self, key: LeafKey) -> Arc<Leaf> {
        let mut leaves = self.leaves.lock().expect("leaves");
        let made = leaves
            .entry(key)
            .or_insert_with(|| Arc::new(self.made(key)));
        Arc::clone(made)
    }

    fn made(&self, key: LeafKey) -> Leaf {
        let authority = &self.authorities[key.signer.authority][key.signer.generation];
        let public_key = signer(EcdsaP256).public_key().to_vec();
        let spec = leaf_spec(if key.copy == 0 { 150 } else { 190 });
        let issued = authority.signing().issue_leaf(
            &device_id(key.device)
                .try_into()
                .expect("an ID that fits a CN"),
            public_key,
            &spec,
            &serial(),
            now(),
        );
        let certificate = issued.expect("leaf").certificate().clone();
        let elements = [ChainElement::from(&certificate)]
            .into_iter()
            .chain(self.above(key.signer));
        let above = Self::path(key.signer).into_iter();
        let above = above.map(|one| self.certificate(one));
        let presented = [&certificate].into_iter().chain(above);
        Leaf {
            chain: PresentedChain::known(certificate.common_name(), elements.collect()),
            presented: presented
                .map(|one| Presented::from_der(one.der()))
                .collect(),
            certificate,
        }
    }
}

pub(crate) fn device_id(device: usize) -> RegistrationId {
    format!("device-{device}").parse().expect("id")
}

pub(crate) fn number(signer: Signer) -> Generation {
    let number = u32::try_from(signer.generation + 1).expect("a number");
    Generation::new(number).expect("not zero")
}

fn below(above: &TestAuthority, kind: &Kind) -> TestAuthority {
    let key = signer(EcdsaP256);
    let spec = authority_spec(&format!("CN={}, O=Contoso", kind.name), kind.days, None);
    let public_key = key.public_key().to_vec();
    let issued = above
        .signing()
        .issue_intermediate(&spec, public_key, &serial(), now());
    TestAuthority {
        name: kind.name,
        certificate: issued.expect("intermediate").certificate().clone(),
        signer: key,
    }
}
