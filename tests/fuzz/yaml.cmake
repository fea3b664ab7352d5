sk_fuzz_target(yaml DEPS conf)
