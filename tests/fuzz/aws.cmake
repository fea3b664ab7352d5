sk_fuzz_target(aws DEPS aws)
target_include_directories(fuzz_aws PRIVATE ${CMAKE_SOURCE_DIR}/manager/aws ${CMAKE_SOURCE_DIR}/src/fetch)
