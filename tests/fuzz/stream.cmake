sk_fuzz_target(stream DEPS stream base decode)
