//! The hash of keys and members: SipHash-1-3 under a random key of the process, so that a client
//! who watches for long cannot learn to make collisions.

use std::sync::OnceLock;

use siphasher::sip::SipHasher13;

static SEED: OnceLock<[u8; 16]> = OnceLock::new();

fn seed() -> &'static [u8; 16] {
    SEED.get_or_init(|| {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the kernel gives random bytes");
        key
    })
}

/// The 64-bit hash of `key`; the same for the life of the process, another in the next.
#[inline]
pub fn hash_bytes(key: &[u8]) -> u64 {
    SipHasher13::new_with_key(seed()).hash(key)
}
