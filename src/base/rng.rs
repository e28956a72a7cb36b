//! The door through which chance enters. Not for secrets: those take `getrandom`.

/// A random number below `bound`; 0 when `bound` is 0.
pub fn below(bound: u64) -> u64 {
    if bound == 0 { 0 } else { fastrand::u64(..bound) }
}

/// A uniform random number in [0, 1).
pub fn unit() -> f64 {
    fastrand::f64()
}

/// `N` random lowercase hexadecimal digits, as run ids and replication ids have.
pub fn hex<const N: usize>() -> String {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes.iter().map(|byte| char::from(b"0123456789abcdef"[usize::from(byte & 15)])).collect()
}
