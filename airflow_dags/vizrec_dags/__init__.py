"""What the DAGs share: settings, assets, Delta's log, and the tasks that are judged by it."""
