sk_fuzz_target(defrag DEPS flow base decode)
