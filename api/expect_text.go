package api

// expectText says why the expect of a step is false.
func expectText(v values) string {
	text := "step " + v.text("step") + ": expect " + v.text("expect") + " is false" + optional(": ", readingsText(v))
	if with := v.nested("failed_with"); with != "" {
		text += "; the action failed: " + with
	}
	return text + stderrText(v)
}
