//! Walks that failed once, shrunk, by the rule that they broke.

/// A rule, and the choices of the walk that broke it.
pub(crate) const CASES: &[(&str, &[u16])] = &[(
    "beside a CA certificate that is not verified the next one is uploaded once",
    &[
        0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
    ],
)];
