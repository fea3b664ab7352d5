sk_fuzz_target(identity DEPS identity)
sk_fuzz_target(proxy DEPS identity)
