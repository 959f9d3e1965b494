//! Documents from authorities and leaves.
