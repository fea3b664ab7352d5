sk_fuzz_target(rules DEPS rules)
