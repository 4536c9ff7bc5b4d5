# cmake --install: the program, what completes it in a shell, and its manual where ./dev man made it.
include(GNUInstallDirs)
install(TARGETS ringside)
install(CODE "
  function(install_completion shell folder name)
    set(made \"${CMAKE_BINARY_DIR}/completions/\${name}\")
    file(MAKE_DIRECTORY \"${CMAKE_BINARY_DIR}/completions\")
    execute_process(COMMAND \"$<TARGET_FILE:ringside>\" completion \${shell}
                    OUTPUT_FILE \"\${made}\" COMMAND_ERROR_IS_FATAL ANY)
    file(INSTALL \"\${made}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATAROOTDIR}/\${folder}\")
  endfunction()
  install_completion(bash bash-completion/completions ringside)
  install_completion(zsh zsh/site-functions _ringside)
  install_completion(fish fish/vendor_completions.d ringside.fish)
  file(GLOB pages \"${CMAKE_BINARY_DIR}/ringside*.1\")
  if(pages)
    file(INSTALL \${pages} DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man1\")
  endif()")
