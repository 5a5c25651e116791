# What `cmake --install` puts where, and the Debian packages that `cpack` makes of it: the component
# `program` is the package netcl-ckpt, `development` is libnetcl-ckpt-dev.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS netcl-ckpt RUNTIME COMPONENT program)
install(TARGETS netcl_ckpt EXPORT netcl-ckpt-targets
  LIBRARY COMPONENT program NAMELINK_COMPONENT development
  ARCHIVE COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(NOT NETCL_CKPT_OPENCL)
  set(without_opencl PATTERN device_cl.h EXCLUDE)
endif()
install(DIRECTORY lib/include/netcl ${PROJECT_BINARY_DIR}/lib/include/netcl TYPE INCLUDE COMPONENT development ${without_opencl})

# CMake package netcl-ckpt, target netcl-ckpt::netcl_ckpt
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/netcl-ckpt)
install(EXPORT netcl-ckpt-targets NAMESPACE netcl-ckpt:: DESTINATION ${package_dir} COMPONENT development)
configure_package_config_file(cmake/netcl-ckpt-config.cmake.in netcl-ckpt-config.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(netcl-ckpt-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/netcl-ckpt-config.cmake ${PROJECT_BINARY_DIR}/netcl-ckpt-config-version.cmake
  DESTINATION ${package_dir} COMPONENT development)

# pkg-config module netcl_ckpt. Who links the archive needs what it needs.
if(BUILD_SHARED_LIBS)
  set(pc_private .private)
else()
  set(pc_static " -DNETCL_CKPT_STATIC_DEFINE")
endif()
if(NOT NETCL_CKPT_LATE_LIBZIP)
  set(pc_libzip " libzip")
endif()
file(RELATIVE_PATH pc_up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/netcl_ckpt.pc.in netcl_ckpt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/netcl_ckpt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

file(GLOB pages CONFIGURE_DEPENDS man/*.[1-9])
foreach(page ${pages})
  string(REGEX MATCH "[1-9]$" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT program)
endforeach()

# Where each shell looks for what packages bring.
set(completion_bash ${CMAKE_INSTALL_DATADIR}/bash-completion/completions/netcl-ckpt)
set(completion_zsh ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions/_netcl-ckpt)
set(completion_fish ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d/netcl-ckpt.fish)
foreach(shell bash zsh fish)
  cmake_path(GET completion_${shell} PARENT_PATH folder)
  cmake_path(GET completion_${shell} FILENAME name)
  install(FILES ${PROJECT_BINARY_DIR}/completion.${shell} DESTINATION ${folder} RENAME ${name} COMPONENT program)
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/cmake/packaging-tools.cmake)
set(CPACK_PACKAGE_VENDOR netcl-ckpt)
set(CPACK_PACKAGE_CONTACT "The netcl-ckpt developers")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME netcl-ckpt)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
# Loaded when a file asks for them, so that shlibdeps does not see them.
if(NETCL_CKPT_LATE_LIBZIP)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS "libzip4 | libzip5")
endif()
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS ocl-icd-libopencl1)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libnetcl-ckpt-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libbz2-dev, libexpected-dev, libisal-dev, liblz4-dev, liblzma-dev, libzstd-dev, nettle-dev, zlib1g-dev")
if(NOT NETCL_CKPT_LATE_LIBZIP)
  string(APPEND CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ", libzip-dev")
endif()
if(BUILD_SHARED_LIBS)
  string(APPEND CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS ", netcl-ckpt (= ${PROJECT_VERSION})")
endif()
include(CPack)
