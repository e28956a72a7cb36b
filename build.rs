//! Compiles the few lines of C that Rust has no type for: arithmetic in `long double`.

fn main() {
    println!("cargo::rerun-if-changed=src/base/long_double.c");
    cc::Build::new().file("src/base/long_double.c").opt_level(2).compile("rekeep_long_double");
}
