sk_fuzz_target(ipc DEPS ipc event)
