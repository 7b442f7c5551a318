.PHONY: generate check-generated
generate:
	@cd tools && GOWORK=off go run ./gencheck -root .. -write
check-generated:
	@cd tools && GOWORK=off go run ./gencheck -root ..
