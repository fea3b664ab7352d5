sk_fuzz_target(http DEPS proto base)
