# cmake -D PORT_FOLDER=… -D WORK=… -D ARCHITECTURE=… -P vcpkg.cmake: plays the port as vcpkg does. vcpkg itself has no package,
# so its functions are stood in for; what they are given is checked.

function(only_known_words function)
  if(word_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${function} does not know ${word_UNPARSED_ARGUMENTS}")
  endif()
endfunction()

function(vcpkg_download_distfile RESULT)
  cmake_parse_arguments(PARSE_ARGV 1 word "" "FILENAME;SHA512" "URLS")
  only_known_words(vcpkg_download_distfile)
  file(DOWNLOAD "${word_URLS}" "${WORK}/downloads/${word_FILENAME}" EXPECTED_HASH SHA512=${word_SHA512})
  set(${RESULT} "${WORK}/downloads/${word_FILENAME}" PARENT_SCOPE)
endfunction()

# It leaves out the folder that all of the archive is in.
function(vcpkg_extract_source_archive RESULT)
  cmake_parse_arguments(PARSE_ARGV 1 word "" "ARCHIVE" "")
  only_known_words(vcpkg_extract_source_archive)
  file(ARCHIVE_EXTRACT INPUT "${word_ARCHIVE}" DESTINATION "${WORK}/source")
  file(GLOB folder "${WORK}/source/*")
  set(${RESULT} "${folder}" PARENT_SCOPE)
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 word "" "COMMENT" "FILE_LIST")
  only_known_words(vcpkg_install_copyright)
  foreach(file IN LISTS word_FILE_LIST)
    file(READ "${file}" text)
    file(APPEND "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" "${text}")
  endforeach()
endfunction()

# The manifest, by the rules of vcpkg's schema for what is in it.
file(READ "${PORT_FOLDER}/vcpkg.json" manifest)
string(JSON count LENGTH "${manifest}")
math(EXPR last "${count} - 1")
foreach(index RANGE ${last})
  string(JSON key MEMBER "${manifest}" ${index})
  if(NOT key MATCHES "^(name|version|description|homepage|license|supports)$")
    message(FATAL_ERROR "vcpkg.json: no key has the name ${key}")
  endif()
  string(JSON ${key} GET "${manifest}" ${key})
endforeach()
if(NOT name MATCHES "^[a-z0-9]+(-[a-z0-9]+)*$" OR NOT version MATCHES "^[0-9]+([.][0-9]+)*$"
   OR NOT homepage MATCHES "^https://" OR NOT supports MATCHES "[(| ]${ARCHITECTURE}[)| ]")
  message(FATAL_ERROR "vcpkg.json: ${manifest}")
endif()

# As vcpkg sets them for the port.
set(PORT "${name}")
set(VERSION "${version}")
set(VCPKG_TARGET_ARCHITECTURE "${ARCHITECTURE}")
set(CURRENT_PACKAGES_DIR "${WORK}/packages")
include("${PORT_FOLDER}/portfile.cmake")
if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" OR NOT EXISTS "${CURRENT_PACKAGES_DIR}/share/${PORT}/usage")
  message(FATAL_ERROR "a file is missing")
endif()
