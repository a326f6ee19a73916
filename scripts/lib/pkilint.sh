# pkilint, a linter for certificates in Python, in a folder of the project's own. To be sourced, after packages.sh.
#
#   pkilint_provide yes|no   exports PERENNIAL_PKILINT, the folder of its programs; with yes it may install them. Says why and returns 1
#                            when it cannot. One that is named by PERENNIAL_PKILINT or found in PATH is used as it is.

PKILINT_VERSION=0.13.3

pkilint_provide() {
    local install=$1 folder=$PWD/target/peers/pkilint-$PKILINT_VERSION program python
    if [[ -n ${PERENNIAL_PKILINT:-} ]]; then
        [[ -x $PERENNIAL_PKILINT/lint_pkix_cert ]] && echo "pkilint: there, in $PERENNIAL_PKILINT" && return 0
        echo "pkilint: PERENNIAL_PKILINT names $PERENNIAL_PKILINT, and no lint_pkix_cert is in it"
        return 1
    fi
    if program=$(command -v lint_pkix_cert); then
        echo "pkilint: there, in PATH"
        PERENNIAL_PKILINT=$(dirname "$program")
        export PERENNIAL_PKILINT
        return 0
    fi
    if [[ ! -x $folder/bin/lint_pkix_cert ]]; then
        echo "pkilint: missing (a second opinion on every certificate and list that is issued)"
        [[ $install == yes ]] || return 1
        python=$(command -v python3) || { echo "pkilint: there is no python3 to run it"; return 1; }
        # Debian splits venv: without the package python3-venv it makes environments, but none with pip in it.
        if ! "$python" -m pip --version >/dev/null 2>&1 && ! "$python" -m ensurepip --version >/dev/null 2>&1; then
            local -a missing=("${PACKAGES_MISSING[@]+"${PACKAGES_MISSING[@]}"}")
            packages_provide yes "pip3 python3-pip installs pkilint"
            PACKAGES_MISSING=("${missing[@]+"${missing[@]}"}")
        fi
        echo "installing: pkilint $PKILINT_VERSION into $folder"
        rm -rf "$folder"
        if "$python" -m pip --version >/dev/null 2>&1; then
            "$python" -m venv --without-pip "$folder" &&
                "$python" -m pip --python "$folder/bin/python" install --quiet --disable-pip-version-check "pkilint==$PKILINT_VERSION"
        else
            "$python" -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "pkilint==$PKILINT_VERSION"
        fi >"$work/pkilint.log" 2>&1 || {
            tail -n 3 "$work/pkilint.log"
            rm -rf "$folder"
            return 1
        }
    fi
    PERENNIAL_PKILINT=$folder/bin
    export PERENNIAL_PKILINT
    echo "pkilint: there, in $folder"
}
