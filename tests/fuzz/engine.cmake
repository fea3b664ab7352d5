sk_fuzz_target(engine DEPS engine)
