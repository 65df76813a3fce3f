# Sourced by ./run, ./test and .ci/run: says what is missing, and installs it where that needs no question.

# need_rust: Rust and a linker, or how to get them.
need_rust() {
  if ! command -v cargo >/dev/null; then
    echo 'Rust is missing. Install it from https://rustup.rs, then open a new shell.' >&2
    return 1
  fi
  need cc gcc libc6-dev
}

# need COMMAND [PACKAGE...]: the command, from Debian packages (of the command's name where none is given).
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null && return
  local packages=("${@:-$command}")
  echo "$command is missing: installing ${packages[*]}" >&2
  if install_packages "${packages[@]}" && command -v "$command" >/dev/null; then return; fi
  echo "Please install $command (Debian and Ubuntu: apt-get install --no-install-recommends ${packages[*]})." >&2
  return 1
}

# install_packages PACKAGE...: with apt, as root or by a sudo that doesn't ask.
install_packages() {
  command -v apt-get >/dev/null || return 1
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends)
  # The lists of a fresh machine are empty or old.
  "${apt[@]}" install "$@" >/dev/null 2>&1 || { "${apt[@]}" update >/dev/null && "${apt[@]}" install "$@" >/dev/null; }
}
