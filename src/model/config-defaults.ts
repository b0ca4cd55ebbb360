/**
 * config-defaults: those defaults of the configuration that are needed where its whole schema is not.
 */
export const DEFAULT_CONFIG_FILE = '/etc/swtpm-mirror/config.toml';
export const DEFAULT_RUN_DIR = '/run/swtpm-mirror';
/** Durations as the file has them. */
export const DEFAULT_DEADLINES = {
  share_deadline: '5s',
  start_deadline: '30s',
  stop_deadline: '20s',
} as const;
