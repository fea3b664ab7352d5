sk_fuzz_target(match DEPS match)
