sk_fuzz_target(aws DEPS wafv2)
target_include_directories(fuzz_aws PRIVATE ${CMAKE_SOURCE_DIR}/src/aws ${CMAKE_SOURCE_DIR}/manager/wafv2 ${CMAKE_SOURCE_DIR}/src/fetch)
