# Programs of other people that tests talk to. To be sourced.
#
#   packages_provide yes|no "program package why"…   sets PACKAGES_MISSING to the packages that are not there afterwards;
#                                                      with yes it may install them by apt-get, without ever asking anybody
#   packages_restore                                   takes back what an interrupted installation left

PACKAGES_MISSING=()
PACKAGES_POLICY=""

packages_has() {
    if [[ $1 == initdb ]]; then
        postgres_find
    else
        command -v "$1" >/dev/null
    fi
}

packages_provide() {
    local install=$1 line program package why
    local -a wanted=() root=()
    shift
    for line in "$@"; do
        read -r program package why <<<"$line"
        if packages_has "$program"; then
            echo "$package: there"
        else
            echo "$package: missing ($why)"
            wanted+=("$package")
        fi
    done
    if [[ ${#wanted[@]} -gt 0 && $install == yes ]]; then
        if ! command -v apt-get >/dev/null; then
            echo "apt-get is not here; install these with the package manager of this system"
        elif [[ $(id -u) -ne 0 ]] && ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
            echo "neither root nor sudo without password; install them with: sudo apt-get install ${wanted[*]}"
        else
            if [[ $(id -u) -ne 0 ]]; then
                root=(sudo -n)
            fi
            packages_install "${wanted[@]}"
        fi
    fi
    PACKAGES_MISSING=()
    for line in "$@"; do
        read -r program package why <<<"$line"
        packages_has "$program" || PACKAGES_MISSING+=("$package")
    done
}

packages_install() {
    # Never at the price of what is there: a mail server, say, would push out the one that this machine runs.
    local -a apt=("${root[@]+"${root[@]}"}" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-remove)
    # Debian starts a server when it is installed. Tests start their own, so the packages are told not to.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        PACKAGES_POLICY=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | "${root[@]+"${root[@]}"}" tee "$PACKAGES_POLICY" >/dev/null
        "${root[@]+"${root[@]}"}" chmod 755 "$PACKAGES_POLICY"
    fi
    echo "installing: $*"
    if ! "${apt[@]}" update >"$work/apt.log" 2>&1; then
        tail -n 5 "$work/apt.log"
    fi
    # All at once is quickest; one that does not exist here must not keep the others out.
    if ! "${apt[@]}" install --no-install-recommends "$@" >>"$work/apt.log" 2>&1; then
        local package
        for package in "$@"; do
            "${apt[@]}" install --no-install-recommends "$package" >>"$work/apt.log" 2>&1 || tail -n 3 "$work/apt.log"
        done
    fi
    packages_restore
}

packages_restore() {
    [[ -n $PACKAGES_POLICY ]] || return 0
    if [[ $(id -u) -eq 0 ]]; then
        rm -f "$PACKAGES_POLICY"
    else
        sudo -n rm -f "$PACKAGES_POLICY"
    fi
    PACKAGES_POLICY=""
}
