sk_fuzz_target(api DEPS api)
target_include_directories(fuzz_api PRIVATE ${CMAKE_SOURCE_DIR}/manager/api)
