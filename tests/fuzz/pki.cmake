sk_fuzz_target(instance DEPS pki)
sk_fuzz_target(csr DEPS pki)
sk_fuzz_target(bundle DEPS pki)
