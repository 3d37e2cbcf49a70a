"""What heed keeps, as typed objects: each file is written and read by the same class.

study.json                          StudyFile ── VariantFacts, StudyCell (an Outcome with its variant and seed)
records/<variant>/seed-<n>.json     Outcome
tune.json                           TuneFile ── TunedArm ── RateTrial, StepBytes, SeedRun ── Scores, CurvePoint
runs/<name>/result.json             KeptResult ── RunResult
recovery.json                       RecoveryFile ── TruthCheck
hidden_size.json                    HiddenSizeFile
explore.json                        ExplorationFile ── ExploredHead
"""
