"""What volts mean: calibration, and what a sensor and its SQUID are, learned by procedures.

Procedures of a TES: `characterize` (measure_iv, measure_conductance, settle_bath, heated) and
`smallsignal` (measure_didv, by_sines, measure_noise, search_working_point). What understands their
data, without asking anything: `iv`, `thermal`, `waves`, `impedance`, `noise_model`, `resolution`,
`workingpoint`.
"""
