# shellcheck shell=bash
# Completion of `sekisho-manager` for bash. Made by tests/tools/make_completion.py from `sekisho-manager help`.
_sekisho_manager() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "run check init token agents agent revoke retire blocks block unblock entries events audit policy rules bundles waf status ca help" -- "$cur")
    return
  fi
  if [ "$verb" = help ]; then
    mapfile -t COMPREPLY < <(compgen -W "run check init token agents agent revoke retire blocks block unblock entries events audit policy rules bundles waf status ca" -- "$cur")
    return
  fi
  if [ "$COMP_CWORD" = 2 ]; then
    case $verb in
      token) words="create list revoke" ;;
      policy) words="publish" ;;
      rules) words="publish" ;;
      waf) words="plan apply status" ;;
      ca) words="show" ;;
    esac
  fi
  case $prev in
    --kind) words="enrol operator" ;;
    --role) words="read admin" ;;
    --state) words="active silent revoked retired" ;;
    --uses) words="1 10 100 unlimited" ;;
  esac
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    return
  fi
  case "$verb $second" in
    "run "*) words="--config --set -c" ;;
    "check "*) words="--config --set -c" ;;
    "init "*) words="--config --name --set -c" ;;
    "token create"*) words="--config --for --json --kind --note --role --set --tag --uses -c" ;;
    "token list"*) words="--config --json --set -c" ;;
    "token revoke"*) words="--config --set -c" ;;
    "agents "*) words="--config --json --set --state -c" ;;
    "agent "*) words="--config --json --set -c" ;;
    "revoke "*) words="--config --set -c" ;;
    "retire "*) words="--config --set -c" ;;
    "blocks "*) words="--agent --config --history --json --limit --set --target -c" ;;
    "block "*) words="--config --for --reason --set -c" ;;
    "unblock "*) words="--config --set -c" ;;
    "entries "*) words="--config --json --set -c" ;;
    "events "*) words="--after --agent --config --json --limit --set --type -c" ;;
    "audit "*) words="--config --json --limit --set -c" ;;
    "policy publish"*) words="--config --key --note --set -c" ;;
    "rules publish"*) words="--config --key --note --set -c" ;;
    "bundles "*) words="--config --json --set -c" ;;
    "waf plan"*) words="--config --set -c" ;;
    "waf apply"*) words="--config --set -c" ;;
    "waf status"*) words="--config --json --set -c" ;;
    "status "*) words="--config --json --set -c" ;;
    "ca show"*) words="--config --pem --set -c" ;;
  esac
  if [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -o filenames -F _sekisho_manager sekisho-manager
