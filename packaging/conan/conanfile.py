"""The Conan package of the release's archive, shared or static. `make recipes` adds conandata.yml."""

from typing import ClassVar

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.files import copy, get


class PaymentsgateAuth(ConanFile):
    name = "paymentsgate-auth"
    description = "Keeps a PaymentsGate session alive"
    license = "MIT OR Apache-2.0"
    homepage = url = "https://github.com/paymentsgate-auth/paymentsgate-auth"
    topics = ("paymentsgate", "token", "auth")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options: ClassVar = {"shared": [True, False]}
    default_options: ClassVar = {"shared": True}

    def set_version(self):
        self.version = self.conan_data["version"]

    def validate(self):
        if self.settings.os != "Linux" or str(self.settings.arch) not in self.conan_data["archives"]:
            machines = ", ".join(self.conan_data["archives"])
            raise ConanInvalidConfiguration(
                f"paymentsgate-auth {self.version} has no archive for {self.settings.os} on "
                f"{self.settings.arch}, only for Linux on {machines}"
            )

    def package_id(self):
        # The library is built already, and has a C interface.
        del self.info.settings.compiler
        del self.info.settings.build_type

    def build(self):
        get(self, **self.conan_data["archives"][str(self.settings.arch)], strip_root=True)

    def package(self):
        licenses = f"{self.package_folder}/licenses"
        for pattern in ("LICENSE-*", "THIRD-PARTY-NOTICES.txt"):
            copy(self, pattern, self.build_folder, licenses)
        copy(self, "*", f"{self.build_folder}/include", f"{self.package_folder}/include")
        library = "*.so*" if self.options.shared else "*.a"
        copy(self, library, f"{self.build_folder}/lib", f"{self.package_folder}/lib")

    def package_info(self):
        self.cpp_info.libs = ["paymentsgate_auth"]
        self.cpp_info.set_property("pkg_config_name", "paymentsgate_auth")
        self.cpp_info.set_property("cmake_file_name", "PaymentsgateAuth")
        self.cpp_info.set_property("cmake_target_name", "PaymentsgateAuth::paymentsgate_auth")
        if not self.options.shared:
            self.cpp_info.set_property("cmake_target_aliases", ["PaymentsgateAuth::paymentsgate_auth_static"])
            self.cpp_info.system_libs = self.conan_data["system_libs"]
