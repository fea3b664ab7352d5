# What `cmake --install` puts where, in components agent, manager and rules. Folders of configuration, state and rules
# are compiled in, so the prefix is /usr unless somebody says otherwise.
if(CMAKE_INSTALL_PREFIX_INITIALIZED_TO_DEFAULT)
  set(CMAKE_INSTALL_PREFIX /usr CACHE PATH "Install prefix" FORCE)
endif()
include(GNUInstallDirs)
# Folders of systemd's units, of users and of folders that it makes: -DSK_UNIT_DIR=... where a distribution has others.
foreach(dir UNIT:systemd/system SYSUSERS:sysusers.d TMPFILES:tmpfiles.d)
  string(REPLACE ":" ";" dir ${dir})
  list(GET dir 0 name)
  list(GET dir 1 path)
  if(NOT DEFINED SK_${name}_DIR)
    set(SK_${name}_DIR ${CMAKE_INSTALL_PREFIX}/lib/${path})
  endif()
endforeach()

set(packaging ${CMAKE_SOURCE_DIR}/packaging/systemd)
set(secret OWNER_READ OWNER_WRITE GROUP_READ) # configuration: 0640

# sk_install(COMPONENT TARGET): what agent and manager have alike.
function(sk_install component name)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${component})
  file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${component}/man/*.[158])
  foreach(page ${pages})
    string(REGEX REPLACE ".*\\." "" section ${page})
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
  endforeach()
  install(FILES ${CMAKE_SOURCE_DIR}/${component}/completion/${name}.bash RENAME ${name}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT ${component})
  configure_file(${packaging}/${name}.service.in ${CMAKE_BINARY_DIR}/packaging/${name}.service @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/packaging/${name}.service DESTINATION ${SK_UNIT_DIR} COMPONENT ${component})
  set(SK_UPGRADED ${name})
  configure_file(${packaging}/after-upgrade.in ${CMAKE_BINARY_DIR}/packaging/${name}/after-upgrade @ONLY)
  install(PROGRAMS ${CMAKE_BINARY_DIR}/packaging/${name}/after-upgrade DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/${name}
    COMPONENT ${component})
  install(FILES ${packaging}/${name}.sysusers RENAME ${name}.conf DESTINATION ${SK_SYSUSERS_DIR} COMPONENT ${component})
  install(FILES ${packaging}/${name}.tmpfiles RENAME ${name}.conf DESTINATION ${SK_TMPFILES_DIR} COMPONENT ${component})
endfunction()

sk_install(agent sekisho)
configure_file(${packaging}/sekisho-drain.service.in ${CMAKE_BINARY_DIR}/packaging/sekisho-drain.service @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/packaging/sekisho-drain.service DESTINATION ${SK_UNIT_DIR} COMPONENT agent)
install(FILES ${CMAKE_SOURCE_DIR}/agent/sekisho.yaml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/sekisho
  PERMISSIONS ${secret} COMPONENT agent)
install(FILES ${packaging}/sekisho.logrotate RENAME sekisho
  DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/logrotate.d COMPONENT agent)
install(FILES README.md CHANGELOG.md docs/DESIGN.md docs/packet-path.md docs/threat-model.md docs/rule-language.md
  docs/load-balancers.md docs/events.md docs/decisions.md docs/service.md docs/operations.md docs/packages.md docs/enrolment.md
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sekisho COMPONENT agent)
install(FILES ${packaging}/limits.conf DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sekisho/examples COMPONENT agent)
file(GLOB userdata CONFIGURE_DEPENDS packaging/userdata/*.sh packaging/userdata/*.yaml)
install(FILES ${userdata} DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sekisho/examples/userdata COMPONENT agent)

if(TARGET sekisho-manager)
  sk_install(manager sekisho-manager)
  install(FILES ${CMAKE_SOURCE_DIR}/manager/manager.yaml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/sekisho
    PERMISSIONS ${secret} COMPONENT manager)
  install(FILES ${CMAKE_SOURCE_DIR}/manager/aws-identity-certificates.pem
    DESTINATION ${CMAKE_INSTALL_DATADIR}/sekisho COMPONENT manager)
  install(FILES docs/manager-api.yaml docs/aws-waf.md docs/outputs.md docs/identity-documents.md
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sekisho-manager COMPONENT manager)
endif()

file(GLOB rules CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/rules/*.rules)
install(FILES ${rules} DESTINATION ${CMAKE_INSTALL_DATADIR}/sekisho/rules COMPONENT rules)
install(FILES rules/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sekisho-rules COMPONENT rules)
