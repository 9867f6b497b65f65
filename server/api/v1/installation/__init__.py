"""Operations for who looks after an installation: queue, machines, storage, snapshots."""
