# Sourced by build, miniatures and damage: the cache they share, and how they speak.
#
# Everything made lives under one folder outside the checkout, so that a fresh
# clone reuses it. A model folder carries the hash of the recipe that made it;
# whatever is half made lies in work/, is renamed into place when complete, and
# is swept by the next holder of the lock.
# shellcheck shell=bash

cache_root=${HARNESS_CACHE:-$HOME/.cache/model-harness}
models=$cache_root/models
work=$cache_root/work

progress() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

# die EXIT_CODE MESSAGE: 2 for a mistake of the caller, 3 for what the machine lacks.
die() { local code=$1; shift; printf '%s: %s\n' "${0##*/}" "$*" >&2; exit "$code"; }

# hash_of TEXT FILE…: what an artefact was made from, as 16 hex digits.
hash_of() {
    local text=$1; shift
    { printf '%s\n' "$text"; cat "$@"; } | sha256sum | cut -c1-16
}

# A builder waits for the other one, then sweeps what an interrupted one left.
lock_cache() {
    mkdir -p "$cache_root" "$models"
    exec 9>"$cache_root/lock"
    flock --nonblock 9 || { progress "another build holds $cache_root/lock: waiting"; flock 9; }
    rm -rf "$work"
    mkdir -p "$work"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# The callers of the next two define recipe_of NAME, the hash of what the model is
# made from, and make_model NAME, which writes it to work/NAME.

# models_are_current NAME…
models_are_current() {
    local name
    for name in "$@"; do [ "$(cat "$models/$name/.recipe" 2>/dev/null)" = "$(recipe_of "$name")" ] || return 1; done
}

# make_models NAME…: those that are not current, each renamed into its place when complete. Needs the lock.
make_models() {
    local name
    for name in "$@"; do
        if models_are_current "$name"; then continue; fi
        make_model_python
        make_model "$name"
        recipe_of "$name" >"$work/$name/.recipe"
        if [ -e "$models/$name" ]; then mv "$models/$name" "$work/$name.replaced"; fi
        mv "$work/$name" "$models/$name"
        progress "model $name: made"
    done
}

report_models() {
    local name
    for name in "$@"; do printf 'model %s\n' "$models/$name"; done
}

# A Python 3.11 that can make virtual environments; Debian's own before others.
find_python() {
    local candidate
    for candidate in /usr/bin/python3.11 python3.11; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            "$candidate" -c 'import os, sys; print(os.path.realpath(sys._base_executable))'
            return
        fi
    done
    return 1
}

# missing_packages PURPOSE: Debian packages to install for "image" or "model", one a line.
missing_packages() {
    local pair
    find_python >/dev/null || printf '%s\n' python3.11 python3.11-venv
    [ "$1" = image ] || return 0
    for pair in gcc:gcc nm:binutils readelf:binutils lscpu:util-linux dash:dash docker:docker.io; do
        command -v "${pair%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done
    /sbin/ldconfig -p | grep -q 'libnuma\.so\.1 ' || echo libnuma1
}

# require_tools PURPOSE INSTALL: names all that is missing at once, or installs it when INSTALL is "yes".
require_tools() {
    local packages
    mapfile -t packages < <(missing_packages "$1" | sort -u)
    if [ ${#packages[@]} -gt 0 ]; then
        [ "$2" = yes ] || die 3 "missing on this machine; run: apt-get install ${packages[*]}   (or give --install-tools)"
        progress "installing ${packages[*]}"
        { apt-get update -q && apt-get install -y -q "${packages[@]}"; } >&2 ||
            die 3 "apt-get could not install ${packages[*]}"
    fi
    [ "$1" = image ] || return 0
    docker version >/dev/null 2>&1 || die 3 "the Docker daemon does not answer: start it (systemctl start docker), or set DOCKER_HOST"
}

# require_free_gib GIB: a build that fills the disk fails late and unclearly.
require_free_gib() {
    local free
    free=$(($(df --output=avail -k "$cache_root" | tail -1) / 1048576))
    [ "$free" -ge "$1" ] || die 3 "$cache_root has $free GiB free, the build needs $1: free some, or set HARNESS_CACHE to another disk"
}

# The packages that read and write model files: small, and no torch among them.
model_packages='numpy==2.2.6 gguf==0.17.1 tokenizers==0.21.4'

# make_model_python: a virtual environment in work/ for the scripts of model/; sets model_python.
make_model_python() {
    model_python=$work/model-python/bin/python
    [ ! -x "$model_python" ] || return 0
    "$(find_python)" -m venv "$work/model-python"
    # tokenizers asks for the hub's client, which is only needed to download.
    # shellcheck disable=SC2086  # a list
    "$model_python" -m pip install -q --no-deps $model_packages tqdm pyyaml
    progress 'model tools: installed'
}

# make_derived_models [--install-tools]: the whole run of a script whose models ("names") derive from the small one.
make_derived_models() {
    [ $# -eq 0 ] || [ "$*" = --install-tools ] || die 2 "unknown argument in \"$*\"; usage: ${0##*/} [--install-tools]"
    "$here/build" --model-only "$@" >/dev/null
    if ! models_are_current "${names[@]}"; then
        lock_cache
        make_models "${names[@]}"
    fi
    report_models "${names[@]}"
}
