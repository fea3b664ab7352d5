sk_fuzz_target(decode DEPS decode)
