"""Operations on jobs and on what describes them: apps, presets, batches, workflows, records, usage."""
