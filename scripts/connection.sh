# shellcheck shell=bash
# To be sourced: takes the password out of DATABASE_URL, so that it is not in the process list.
# Sets `address` (without the password) and PGPASSWORD.
: "${DATABASE_URL:?name the database: postgres://user:password@host:port/name}"
address=$DATABASE_URL
if [[ $DATABASE_URL =~ ^(postgres(ql)?://[^:@/]*):([^@/]*)@(.*)$ ]]; then
    # shellcheck disable=SC2034 # used by the sourcing script
    address="${BASH_REMATCH[1]}@${BASH_REMATCH[4]}"
    PGPASSWORD=$(printf '%b' "${BASH_REMATCH[3]//%/\\x}")
    export PGPASSWORD
fi
# The password of docker-compose.yml and of the systemd units.
if [ -n "${OPB_DATABASE_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$OPB_DATABASE_PASSWORD_FILE")
    export PGPASSWORD
fi
