sk_fuzz_target(uplink DEPS report)
target_include_directories(fuzz_uplink PRIVATE ${CMAKE_SOURCE_DIR}/src/report)
