# Compiles for AArch64 with Debian's cross compiler, where arm64's libraries are beside the machine's own (packaging/cross):
# -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(PKG_CONFIG_EXECUTABLE aarch64-linux-gnu-pkg-config)
