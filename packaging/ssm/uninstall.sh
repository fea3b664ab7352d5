#!/bin/sh
# Removes the packages. Configuration, blocks and enrolment stay: "Uninstall and reinstall" is how Distributor updates. With
# SSM_SEKISHO_PURGE=yes they go too, and the host's blocks with them.
set -u
cd "$(dirname "$0")" || exit 1
# shellcheck source=packaging/ssm/common.sh
. ./common.sh

find_form
check_platform
case ${SSM_SEKISHO_PURGE:-no} in
  yes) word=purge ;;
  no | '') word=remove ;;
  *) fail "$BAD_ARGUMENT" "SSM_SEKISHO_PURGE is yes or no, not $SSM_SEKISHO_PURGE" ;;
esac
if has_systemd && ! quietly systemctl stop sekisho-drain.service; then :; fi # it may not be there
if is_active && ! quietly systemctl stop "$SERVICE"; then
  show_log
  fail "$BAD_PACKAGE" "$SERVICE does not stop"
fi
remove_packages "$word"
if [ "$word" = purge ]; then
  remove_traces
  say "configuration, state and blocks are removed too"
else
  say "configuration, blocks and enrolment stay (SSM_SEKISHO_PURGE=yes removes them)"
fi
