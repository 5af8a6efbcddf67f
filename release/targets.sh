# What a release is built for, and by what. To be sourced.
ALL_TARGETS="x86_64-unknown-linux-musl aarch64-unknown-linux-musl x86_64-pc-windows-gnu aarch64-apple-darwin x86_64-apple-darwin"
TARGETS=${TARGETS:-$ALL_TARGETS}
# What the last stage of the Dockerfile copies.
IN_IMAGE="lockkeeper lockkeeper-pause"

# The C compiler that ring is compiled with for a target, and that links the programs.
compiler() {
  case $1 in
    "$(uname -m)-unknown-linux-musl") echo gcc ;;
    x86_64-unknown-linux-musl) echo x86_64-linux-gnu-gcc ;;
    aarch64-unknown-linux-musl) echo aarch64-linux-gnu-gcc ;;
    x86_64-pc-windows-gnu) echo x86_64-w64-mingw32-gcc ;;
    *-apple-darwin) echo cc ;;
  esac
}

# Says why this machine cannot build for a target; fails if it can.
cannot_be_built() {
  case $1 in
    *-apple-darwin)
      [ "$(uname)" != Darwin ] || return 1
      echo "the frameworks to link with are only on a Mac"
      ;;
    *)
      ! command -v "$(compiler "$1")" >/dev/null || return 1
      echo "there is no $(compiler "$1")"
      ;;
  esac
}

# A target in the words of images, krew and file names.
platform() {
  case $1 in
    x86_64-unknown-linux-musl) echo linux-amd64 ;;
    aarch64-unknown-linux-musl) echo linux-arm64 ;;
    x86_64-pc-windows-gnu) echo windows-amd64 ;;
    x86_64-apple-darwin) echo darwin-amd64 ;;
    aarch64-apple-darwin) echo darwin-arm64 ;;
    *) echo "release: $1 is none of: $ALL_TARGETS" >&2; return 1 ;;
  esac
}

# The file of the plugin for a platform.
plugin() {
  case $1 in windows-*) echo kubectl-lockkeeper.exe ;; *) echo kubectl-lockkeeper ;; esac
}
