# Binaries that are built on Debian and run on Amazon Linux 2023 and RHEL 9. Of two libraries Debian's binaries cannot
# use those of the others: libpcap has another soname there, and Debian's libcurl names versions that theirs lacks. With
# SK_PORTABLE these are linked through stand-ins, made here: empty libraries with the right soname and without symbol
# versions. They define what cmake/portable/NAME.symbols lists and nothing else, so that a call of anything that the
# distributions may lack does not link. When the program runs, it gets the library of the distribution.
option(SK_PORTABLE "Link for the libraries of Amazon Linux 2023 and RHEL 9" OFF)
option(SK_STATIC_VECTORSCAN "Link Vectorscan (or Hyperscan) statically: distributions without it" ${SK_PORTABLE})

if(SK_PORTABLE)
  set(CMAKE_SKIP_RPATH ON) # the stand-ins are for the linker alone
endif()

# sk_stand_in(TARGET NAME): links the imported TARGET through a stand-in, if cmake/portable has a list for it. Its first
# line is "soname lib….so.N", those below it are "symbol version-that-introduced-it".
function(sk_stand_in target name)
  set(list ${CMAKE_SOURCE_DIR}/cmake/portable/${name}.symbols)
  if(NOT SK_PORTABLE OR NOT EXISTS ${list})
    return()
  endif()
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} lines REGEX "^[a-z]")
  list(POP_FRONT lines soname)
  if(NOT soname MATCHES "^soname lib([a-z0-9-]+)\\.so\\.([0-9]+)$")
    message(FATAL_ERROR "${list}: the first line is not \"soname lib….so.N\"")
  endif()
  set(output ${CMAKE_MATCH_1})
  set(major ${CMAKE_MATCH_2})
  set(code "/* Made from cmake/portable/${name}.symbols. */\n")
  foreach(line ${lines})
    string(REGEX REPLACE " .*" "" symbol "${line}")
    string(APPEND code "void ${symbol}(void);\nvoid ${symbol}(void)\n{\n    __builtin_trap();\n}\n")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/portable/${name}.c)
  file(CONFIGURE OUTPUT ${source} CONTENT "${code}" @ONLY)
  add_library(stand_in_${name} SHARED ${source})
  set_target_properties(stand_in_${name} PROPERTIES OUTPUT_NAME ${output} SOVERSION ${major}
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/portable INTERPROCEDURAL_OPTIMIZATION OFF)
  target_compile_options(stand_in_${name} PRIVATE -fno-lto -fno-builtin)
  target_link_options(stand_in_${name} PRIVATE -nostdlib)
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES stand_in_${name})
endfunction()

# sk_static_vectorscan(TARGET): the imported TARGET links libhs.a. The C++ runtime stays the distribution's.
function(sk_static_vectorscan target)
  if(NOT SK_STATIC_VECTORSCAN)
    return()
  endif()
  find_library(SK_LIBHS_A libhs.a HINTS ${libhs_LIBRARY_DIRS} ${libhs_LIBDIR})
  if(NOT SK_LIBHS_A)
    message(FATAL_ERROR "SK_STATIC_VECTORSCAN: there is no libhs.a beside libhs.so; name one with -DSK_LIBHS_A=FILE")
  endif()
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${SK_LIBHS_A};stdc++;m")
endfunction()
